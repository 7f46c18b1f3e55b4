"""What a WebSocketApplication's messages may go through."""
