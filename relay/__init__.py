"""A push relay for app stores beside Apple's."""

__version__ = "0.2.0.dev0"
