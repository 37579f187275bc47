"""Terminal tables and HTML pages of plans, audits, policies and drafts."""
