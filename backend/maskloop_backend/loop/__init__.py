"""The loop: what annotators corrected becomes a better version, or nothing changes."""
