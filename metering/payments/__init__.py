"""Cards: the only room that talks to Stripe."""
