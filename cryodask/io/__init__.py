"""Everything that touches files: the data set store, volumes, structures and the field's exchange formats."""
