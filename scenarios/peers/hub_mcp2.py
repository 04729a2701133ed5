"""A hub as the documentation of PyPI `mcp` 2 writes one.

HOST=127.0.0.1 PORT=8000 python hub_mcp2.py sse|streamable-http
"""

import os
import sys

from mcp.server.mcpserver import Context, MCPServer
from tools import add_tools

mcp = MCPServer("peer")
add_tools(mcp, Context)
mcp.run(transport=sys.argv[1], host=os.environ["HOST"], port=int(os.environ["PORT"]))
