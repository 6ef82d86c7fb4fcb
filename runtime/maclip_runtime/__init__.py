"""Enroll actions and recognise them on a stream: what a device runs."""
