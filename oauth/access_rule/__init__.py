"""The rule of who may sign in, and what evidence decides by it. Pure: values in, a refusal out.

Knows neither Django, nor the network, nor any other module of this package.
"""
