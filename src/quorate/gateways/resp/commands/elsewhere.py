"""Commands that quorate has not.

Those that Redis has are refused by name, so that nobody looks for a typing mistake.
"""

from quorate.gateways.resp import encoder
from quorate.gateways.resp.parser import MAX_KEPT_BULK_BYTES, MAX_KEPT_BYTES, TOO_LARGE, Args

_SHOWN_BYTES = 128
"""Of a name, and of all arguments together, in an error; Redis' bound."""

_NAMES = {
    "hashes": "hset hget hmset hmget hdel hexists hgetall hkeys hvals hlen hincrby hincrbyfloat "
    "hsetnx hstrlen hscan hrandfield hexpire hpexpire hexpireat hpexpireat hexpiretime "
    "hpexpiretime httl hpttl hpersist hgetdel hgetex hsetex",
    "lists": "lpush rpush lpushx rpushx lpop rpop llen lrange lindex lset lrem ltrim linsert lpos "
    "lmove lmpop rpoplpush blpop brpop blmove blmpop brpoplpush",
    "sets": "sadd srem smembers sismember smismember scard spop srandmember smove sinter "
    "sinterstore sintercard sunion sunionstore sdiff sdiffstore sscan",
    "sorted sets": "zadd zrem zscore zmscore zrange zrangestore zrangebyscore zrangebylex "
    "zrevrange zrevrangebyscore zrevrangebylex zrank zrevrank zcard zcount zlexcount zincrby "
    "zpopmin zpopmax bzpopmin bzpopmax zmpop bzmpop zrandmember zremrangebyrank zremrangebyscore "
    "zremrangebylex zunion zunionstore zinter zinterstore zintercard zdiff zdiffstore zscan",
    "streams": "xadd xread xreadgroup xrange xrevrange xlen xdel xtrim xack xclaim xautoclaim "
    "xpending xgroup xinfo xsetid xackdel xdelex",
    "publish and subscribe": "subscribe unsubscribe psubscribe punsubscribe ssubscribe "
    "sunsubscribe publish spublish pubsub",
    "scripts and functions": "eval_ro evalsha_ro fcall fcall_ro function",
    "bitmaps": "setbit getbit bitcount bitpos bitop bitfield bitfield_ro",
    "HyperLogLogs": "pfadd pfcount pfmerge pfdebug pfselftest",
    "geographic indexes": "geoadd geopos geodist geohash georadius georadius_ro "
    "georadiusbymember georadiusbymember_ro geosearch geosearchstore",
    "cluster mode": "cluster asking",
    "several databases": "move swapdb",
    "sorting": "sort sort_ro",
    "comparing strings": "lcs",
    "dumps of keys": "dump restore restore-asking migrate",
    "Redis' replication": "replicaof slaveof psync sync replconf failover role waitaof",
    "Redis' own administration": "save bgsave lastsave bgrewriteaof shutdown monitor debug "
    "slowlog latency memory module acl lolwut",
}
ELSEWHERE: dict[str, str] = {name: what for what, names in _NAMES.items() for name in names.split()}
"""Name, in lower case, to what it belongs to."""


def unknown(args: Args) -> bytes:
    """What is said to a command that is not in the table."""
    if args[0] is TOO_LARGE:
        return encoder.error(
            "ERR string exceeds maximum allowed size (proto-max-bulk-len): a value has "
            f"{MAX_KEPT_BULK_BYTES} bytes at most, a command {MAX_KEPT_BYTES}"
        )
    name = args[0][:_SHOWN_BYTES].decode("utf-8", "replace")
    what = ELSEWHERE.get(name.lower())
    if what is not None:
        return encoder.error(f"ERR quorate does not have {what} ({name.upper()}) yet")
    told = ""
    for argument in args[1:]:
        if len(told) >= _SHOWN_BYTES:
            break
        shown = argument[: _SHOWN_BYTES - len(told)].decode("utf-8", "replace")
        told += f"'{shown}' "
    return encoder.error(f"ERR unknown command '{name}', with args beginning with: {told}")
