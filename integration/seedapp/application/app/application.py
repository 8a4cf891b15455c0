"""The application that the routes are added to."""

from fastapi import FastAPI

app = FastAPI()
