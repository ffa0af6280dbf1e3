"""What a training process and the daemon share: messages, their bytes, and the documents of the run folder."""
