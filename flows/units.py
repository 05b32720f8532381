"""Units and bases at the door: named rules from what a publisher writes to what a series is kept in."""
