"""A push relay for app stores beside Apple's."""

__version__ = "0.1.0"
