"""What the site needs and Sphinx has not: each file is one small extension."""
