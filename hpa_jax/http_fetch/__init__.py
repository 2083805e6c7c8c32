"""Files over HTTP: retries, a rate limit, resumed downloads, and limits on size and time.

    client = HttpClient(Policy(timeout=120))
    body = client.get(url, check)                 # a small file, as bytes
    client.download(url, part, check)             # a large file; resumes what is at `part`

client.py        one thread's requests: attempts, retries, what is written to `part`
policy.py        how hard to try, and how long
outcome.py       how an attempt can end, and what a response or an error of the network means
rate_limiter.py  when a request may be sent, for all threads that share it
connection.py    an attempt's deadline, and the socket that it shuts down

Design:
- The timeouts of a socket count from one byte to the next, so a server that sends a byte now and
  then could hold a thread forever. Each attempt has a deadline for all of it, at which another
  thread shuts its socket down.
- Whether the content is right (`check`) is part of an attempt: half a file, or a web page with
  status 200, is retried like a lost connection.
- "Too many requests" is meant for the program, not for one file: it pauses all threads that share a
  `RateLimiter`.
"""

from hpa_jax.http_fetch.client import HttpClient
from hpa_jax.http_fetch.outcome import Failed, Stopped
from hpa_jax.http_fetch.policy import Policy
from hpa_jax.http_fetch.rate_limiter import RateLimiter

__all__ = ["Failed", "HttpClient", "Policy", "RateLimiter", "Stopped"]
