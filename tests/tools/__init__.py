"""What the tests are made with: a scripted peer, a strict judge of what is on the wire, and ways to break things.

Nothing here but `endpoint` imports geventws. The library must not be judged by its own understanding of the protocol.
"""
