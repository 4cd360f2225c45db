"""Judging a matte without truth: figures a frame, grades, the moments worth a look, and a page that shows them."""
