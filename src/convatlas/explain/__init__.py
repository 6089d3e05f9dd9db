"""Why a network decides as it does: class activation maps and what feeds them."""
