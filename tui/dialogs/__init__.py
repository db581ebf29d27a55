"""Dialogs: small models drawn as rows over the panes. No Textual in here."""
