"""A hub as the documentation of PyPI `mcp` 1 writes one.

HOST=127.0.0.1 PORT=8000 python hub_mcp1.py sse|streamable-http
"""

import os
import sys

from mcp.server.fastmcp import Context, FastMCP
from tools import add_tools

mcp = FastMCP("peer", host=os.environ["HOST"], port=int(os.environ["PORT"]))
add_tools(mcp, Context)
mcp.run(transport=sys.argv[1])
