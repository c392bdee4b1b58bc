"""Small parts, by themselves: the codec, and the round trip of single requests. Run: ``tools/bench micro``."""
