"""Pickers: from a tomogram to a list of particles. Each is a small module behind the Picker protocol."""
