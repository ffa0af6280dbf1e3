"""One file a framework. Importing one integration never imports another's framework."""
