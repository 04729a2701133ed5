"""A hub as the documentation of PyPI `fastmcp` 2 and 4 writes one.

HOST=127.0.0.1 PORT=8000 python hub_fastmcp.py sse|streamable-http
"""

import os
import sys

from fastmcp import Context, FastMCP
from tools import add_tools

mcp = FastMCP("peer")
add_tools(mcp, Context)
mcp.run(transport=sys.argv[1], host=os.environ["HOST"], port=int(os.environ["PORT"]), show_banner=False)
