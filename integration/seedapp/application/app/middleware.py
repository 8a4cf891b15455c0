"""A record of each request that was answered."""

from app.application import app
from app.core.logging import logger

from fastapi import Request
from starlette.middleware.base import BaseHTTPMiddleware
import time

class MetricsMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next):
        start_time = time.time()
        response = await call_next(request)
        process_time = time.time() - start_time

        # Log endpoint metrics
        logger.info(
            "API request",
            extra={
                "method": request.method,
                "path": request.url.path,
                "status_code": response.status_code,
                "duration_ms": process_time * 1000,
                "client": request.client.host if request.client else "unknown",
            }
        )

        # Add metrics header
        response.headers["X-Process-Time"] = str(process_time)
        return response

# Add middleware to app
app.add_middleware(MetricsMiddleware)
