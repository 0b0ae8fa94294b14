"""Engines that draw samples, in this process or several at once, and the rounds that gather them."""
