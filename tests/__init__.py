"""Tests; they mirror labgateway/."""
