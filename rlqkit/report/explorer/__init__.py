"""One page in which the features of several networks can be explored, image by image."""
