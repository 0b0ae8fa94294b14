"""All that verl imports of this kit, and every key of verl that the kit sets."""
