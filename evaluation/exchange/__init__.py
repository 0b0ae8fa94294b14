"""Imports samples that other programs drew, and exports samples in their formats, with bounded memory."""
