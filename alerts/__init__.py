"""Rules, incident life, messages and their delivery. Pure, but for the Slack edge."""
