"""From corrections in Label Studio to a better version: what is trained when, on what, and whether it goes live."""
