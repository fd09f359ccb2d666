"""What we tell customers: mail, receipts, webhooks. The only room that imports smtplib, jinja2 or fpdf."""
