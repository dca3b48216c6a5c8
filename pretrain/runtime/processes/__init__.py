"""Processes beside this one: started, watched, ended, and what they share."""
