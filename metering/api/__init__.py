"""The HTTP door: parse, call one service, render. Async here, plain synchronous Python below."""
