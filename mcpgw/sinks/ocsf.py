"""A record of the log as an OCSF event: API Activity (class 6003) of schema version 1.8.0. Pure.

Attributes that OCSF has carry what OCSF says they carry; what only mcpgw knows stands below `unmapped.mcpgw`. Every kind of
record becomes a 6003 event, also one that this file does not know: a new kind must not stop a delivery.

How it may change: attributes are added. One that changes its meaning gets another name below `unmapped.mcpgw`.
Source: https://schema.ocsf.io/1.8.0/classes/api_activity?profiles=security_control,ai_operation
"""

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mcpgw.sinks.meaning import ACTIVITIES, Activity, Meaning, meaning_of

OCSF_VERSION = "1.8.0"
CATEGORY_UID = 6
CLASS_UID = 6003
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_USER_TYPES = {"human": (1, "User"), "service": (4, "Service"), "agent": (99, "Agent")}
_SYSTEM_USERS = {"gateway": (3, "System"), "os": (2, "Admin")}
"""By what stands before the colon: `os:NAME` works at the gateway's own command line."""
_AI_ROLES = {"agent": (4, "Agent")}
"""By kind of identity. Whether a model is behind a person's or a service's call, nobody has told the gateway."""
_NS_PER_MS = 1_000_000
_KEPT = ("decision", "outcome", "latency_ns", "replayed_from", "facts", "intent", "gateway", "node", "origin")
"""Members of a leaf that stand below `unmapped.mcpgw` as they are. Commitments to payloads do not leave."""

Members: TypeAlias = Mapping[str, Any]
Event: TypeAlias = dict[str, Any]


def to_ocsf(record: Members, leaf_hash: str) -> Event:
    """Return the event for the members of a leaf. `leaf_hash` (hexadecimal) becomes `metadata.uid`.

    Raises:
        (KeyError, TypeError, ValueError, AttributeError): these are no members of a leaf of ours.
    """
    meaning = meaning_of(record)
    activity = _activity(record)
    event: Event = {
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "activity_id": activity.id,
        "activity_name": activity.name,
        "type_uid": CLASS_UID * 100 + activity.id,
        "type_name": f"API Activity: {activity.caption}",
        "time": int(record["time_ns"]) // _NS_PER_MS,
        "metadata": _metadata(record, leaf_hash),
        **_result(record, meaning),
        "message": _message(record),
        "actor": _actor(record),
        "api": _api(record),
        "src_endpoint": _source(record),
        "resources": _resources(record),
        "authorizations": _authorizations(record),
        "message_context": _message_context(record),
        "unmapped": {"mcpgw": _extension(record, leaf_hash)},
    }
    if latency := record.get("latency_ns"):
        event["duration"] = sum(latency.values()) // _NS_PER_MS
    if record["kind"] == "refusals.counted":
        event["count"] = sum(line["count"] for line in record["facts"]["counts"])
    return {name: value for name, value in event.items() if value not in ([], {})}


def _activity(record: Members) -> Activity:
    kind = record.get("target", {}).get("kind", "") if record["kind"].startswith("call.") else record["kind"]
    return ACTIVITIES.get(kind, Activity.other(_operation(record)))


def _result(record: Members, meaning: Meaning) -> Event:
    outcome = record.get("outcome", {})
    found: Event = {
        "severity_id": meaning.severity_id,
        "severity": _SEVERITIES[meaning.severity_id],
        "status_id": meaning.status.value,
        "status": meaning.status.caption,
        "action_id": meaning.action.value,
        "action": meaning.action.caption,
        "disposition_id": meaning.disposition.value,
        "disposition": meaning.disposition.caption,
    }
    if code := outcome.get("code") or outcome.get("class"):
        found["status_code"] = code
    if detail := outcome.get("reason") or _reason(record):
        found["status_detail"] = detail
    return found


def _reason(record: Members) -> str:
    parts = (record.get("approval", {}), record.get("decision", {}))
    return next((part["reason"] for part in parts if part.get("reason")), "")


def _metadata(record: Members, leaf_hash: str) -> Event:
    gateway = record["gateway"]
    metadata: Event = {
        "version": OCSF_VERSION,
        "profiles": ["security_control", *(["ai_operation"] if _is_call(record) else [])],
        "uid": leaf_hash,
        "event_code": record["kind"],
        "product": {"name": "mcpgw", "vendor_name": "mcpgw", "version": gateway["version"]},
        "log_name": record["log"],
        "log_provider": "mcpgw",
        "log_version": str(record["v"]),
        "sequence": record["seq"],
        "original_time": record["time_ns"],
    }
    if thread := record.get("call") or record.get("approval", {}).get("id"):
        metadata["correlation_uid"] = thread
    return metadata


def _message(record: Members) -> str:
    who = record.get("who", {}).get("sub") or record.get("actor") or "an unauthenticated caller"
    approval = record.get("approval", {})
    result = record.get("outcome", {}).get("class") or approval.get("verdict") or approval.get("state") or ""
    what = " ".join(filter(None, (record["kind"], record.get("target", {}).get("name", ""))))
    return f"{who}: {what}" + (f" ({result})" if result else "")


def _actor(record: Members) -> Event:
    who = record.get("who")
    if not who:
        return {"user": _bare_user(record.get("actor", ""))}
    type_id, type_name = _USER_TYPES.get(who["kind"], (0, "Unknown"))
    user: Event = {"name": who["sub"], "uid": f"{who['iss']}#{who['sub']}", "type_id": type_id, "type": type_name}
    if who["groups"]:
        user["groups"] = [{"name": group} for group in who["groups"]]
    if who["credential"]:
        user["credential_uid"] = who["credential"]
    actor: Event = {"user": user, "idp": {"name": who["iss"]}}
    if session := _session(record):
        actor["session"] = {"uid": session, "issuer": "mcpgw"}
    if who["actors"]:
        actor["invoked_by"] = who["actors"][0]
    if app := _app(record):
        actor["app_name"] = app
    return actor


def _app(record: Members) -> str:
    name: str = record.get("who", {}).get("client") or record.get("origin", {}).get("client") or ""
    return name


def _session(record: Members) -> str:
    name: str = record.get("session", {}).get("id") or record.get("origin", {}).get("session") or ""
    return name


def _bare_user(actor: str) -> Event:
    if not actor:
        return {"name": "unauthenticated", "type_id": 0, "type": "Unknown"}
    type_id, type_name = _SYSTEM_USERS.get(actor.partition(":")[0], (0, "Unknown"))
    return {"name": actor.rpartition("#")[2], "uid": actor, "type_id": type_id, "type": type_name}


def _api(record: Members) -> Event:
    target, origin = record.get("target", {}), record.get("origin", {})
    api: Event = {"operation": _operation(record), "service": _service(target)}
    if target:
        api["group"] = {"name": target["kind"]}
    if origin.get("protocol"):
        api["version"] = origin["protocol"]
    if request := origin.get("request") or record.get("call"):
        api["request"] = {"uid": request}
    outcome = record.get("outcome", {})
    if outcome.get("code"):
        api["response"] = {"error": outcome["code"], "error_message": outcome.get("reason", "")}
    return api


def _service(target: Members) -> Event:
    service: Event = {"name": target.get("server") or "mcpgw"}
    if target.get("fingerprint"):
        service["uid"] = target["fingerprint"]
    return service


def _operation(record: Members) -> str:
    name: str = record.get("target", {}).get("name") or record["kind"]
    return name


def _source(record: Members) -> Event:
    origin = record.get("origin", {})
    address = origin.get("address", "")
    if not address:
        return {"name": origin.get("transport") or "mcpgw", "uid": record["node"]}
    try:
        return {"ip": str(ipaddress.ip_address(address))}
    except ValueError:
        return {"name": address}


def _is_call(record: Members) -> bool:
    """Whether an application reached out to a server, or tried to: what the profile `ai_operation` is there for."""
    return record["kind"].startswith("call.") and "target" in record


def _message_context(record: Members) -> Event:
    """Whose message this is. Prompts, tokens and the model do not pass through a gateway, so nothing is said of them."""
    if not _is_call(record):
        return {}
    role_id, role = _AI_ROLES.get(record.get("who", {}).get("kind", ""), (0, "Unknown"))
    context: Event = {"ai_role_id": role_id, "ai_role": role, "service": _service(record["target"])}
    if app := _app(record):
        context["application"] = {"name": app}
    if session := _session(record):
        context["uid"] = session
    return context


def _resources(record: Members) -> Sequence[Event]:
    target = record.get("target", {})
    if not target:
        return []
    resource = {"name": target["name"], "type": target["kind"]}
    return [resource | ({"uid": target["definition"]} if target.get("definition") else {})]


def _authorizations(record: Members) -> Sequence[Event]:
    """The rules that decided, in order. A decision by default (no rule matched) names the policy alone."""
    decision = record.get("decision")
    if not decision:
        return []
    named = [{"name": rule} for rule in decision["rules"]] or [{}]
    return [{"decision": decision["effect"], "policy": {**name, "uid": decision["policy"]}} for name in named]


def _extension(record: Members, leaf_hash: str) -> Event:
    kept = {name: record[name] for name in _KEPT if name in record}
    if "payloads" in record.get("facts", {}):  # which ones of thousands were erased: the record says it
        counts = {slot: len(places) for slot, places in record["facts"]["payloads"].items()}
        kept["facts"] = {**record["facts"], "payloads": counts}
    extension: Event = {"leaf_hash": leaf_hash, "log": record["log"], "seq": record["seq"], "event_id": record["id"], **kept}
    if approval := record.get("approval"):
        extension["approval"] = {name: value for name, value in approval.items() if name != "request_key"}
    if record.get("call"):
        extension["call_id"] = record["call"]
    if masking := record.get("masking"):
        extension["masked"] = {part: _counts(manifest) for part, manifest in masking.items()}
    if who := record.get("who"):
        extension["identity"] = {name: who[name] for name in ("kind", "method", "amr", "auth_time", "actors")}
    return extension


def _counts(manifest: Members) -> Mapping[str, int]:
    """How many values of each entity type were masked: the numbers, without the places."""
    counts: Counter[str] = Counter()
    for entity, _path, _detector, count in manifest["masked"]:
        counts[entity] += count
    if manifest["masked_cut"]:
        counts["other"] += manifest["masked_cut"]
    return dict(counts)
