"""Sends events and reads lists with the client that openapi-python-client has made."""

import os

from slipstream_client import AuthenticatedClient
from slipstream_client.api.events import add_friend, emit, put_item
from slipstream_client.api.recommendations import recommend, trending
from slipstream_client.models import FriendshipFields, Interaction, InteractionAction, ItemFields

client = AuthenticatedClient(
    base_url=os.environ["SLIPSTREAM"], token=os.environ["SLIPSTREAM_KEY"], prefix="bearer"
)

taken = put_item.sync(
    "film-py", client=client, body=ItemFields(title="Lantern Street", genres=["Drama"])
)
assert taken.kind == "item.updated.v1", taken
assert add_friend.sync("ann", "bob", client=client, body=FriendshipFields()).id

like = Interaction(user_id="ann", item_id="film-py", action=InteractionAction.LIKE)
answer = emit.sync(client=client, body=like)
assert (answer.accepted, answer.refused) == (1, 0), answer
answer = emit.sync(client=client, body=[like, like])
assert answer.accepted == 2, answer

made = recommend.sync("ann", client=client, n=3)
assert made.user_id == "ann" and made.recommendation_id, made
assert trending.sync(client=client).user_id == ""

stranger = AuthenticatedClient(base_url=os.environ["SLIPSTREAM"], token="wrong")
refused = recommend.sync_detailed("ann", client=stranger)
assert refused.status_code == 401 and refused.parsed.detail, refused
print("python: ok")
