"""The door for people with a browser and no key: what they see is words, and runs nothing."""
