"""E-mail addresses in templates."""

from django import template

from accounts import addresses

register = template.Library()
register.filter("shown", addresses.shown)
