"""Policy files: loading, mistakes in sentences, and the presets."""
