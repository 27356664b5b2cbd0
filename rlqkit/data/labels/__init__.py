"""Label files and masks that lie beside a published data set."""
