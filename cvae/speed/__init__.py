"""How fast the project is next to plain loops, and how its cost grows."""
