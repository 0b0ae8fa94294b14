"""Takes over what other programs drew, and writes what they read: samples one by one, in bounded memory."""
