"""What a prediction asks the online store: each view as of the event's instant, the event itself included."""

from feature_store.online.lookup import LookupRequest, OwnEvent
from headrace.spec.model import Model
from serving.request_event import RequestEvent

__all__ = ["lookup_request"]


def lookup_request(model: Model, event: RequestEvent) -> LookupRequest:
    """The lookup of one event of a model, the same over HTTP and in the stream."""
    views = model.views
    return LookupRequest(
        views=views,
        entities={view.entity: event.fields[view.entity] for view in views},
        at_us=event.time_us,
        own=OwnEvent(id=event.id, time_us=event.time_us, fields=event.fields, stream=model.events.name),
    )
