"""What Redis does for the daemons in one step each: Lua, with Redis's own time as the only clock."""

from __future__ import annotations

BEAT = """
-- KEYS: members (until when each is sure to be there), owners (lane -> member|token), token counter
-- ARGV: me, seconds of the lease, seconds after which one without a connection is gone, prefix of channels,
--       seconds after which one that is only silent is forgotten, then pairs: lane, my token or ''
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local me, lease = ARGV[1], tonumber(ARGV[2])
local before = redis.call('ZSCORE', KEYS[1], me)
local known = (before and tonumber(before) >= now) and 1 or 0
redis.call('ZADD', KEYS[1], string.format('%.6f', now + lease), me)
local there, silent, sure = {}, {}, {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
    local id, till = all[i], tonumber(all[i + 1])
    local gone = false
    if id ~= me and till - lease < now - tonumber(ARGV[3]) then
        gone = redis.call('PUBSUB', 'NUMSUB', ARGV[4] .. id)[2] == 0 or till < now - tonumber(ARGV[5])
    end
    if gone then
        redis.call('ZREM', KEYS[1], id)
    elseif till >= now then
        there[#there + 1] = id
        sure[id] = true
    else
        silent[#silent + 1] = id
    end
end
local owners = {}
for i = 6, #ARGV, 2 do
    local lane, mine = ARGV[i], ARGV[i + 1]
    local owner = redis.call('HGET', KEYS[2], lane)
    local who = owner and string.match(owner, '^(.*)|') or ''
    if not sure[who] or (who == me and owner ~= me .. '|' .. mine) then
        owner = me .. '|' .. redis.call('INCR', KEYS[3])
        redis.call('HSET', KEYS[2], lane, owner)
    end
    owners[#owners + 1] = owner
end
return {t[1], t[2], known, there, silent, owners}
"""

GRANT = """
-- KEYS: members, owners, what the lane has let through (a stream), calls of each hour (a hash)
-- ARGV: lane, me, my token, what is let through now or '', seconds it is kept, how many hours follow,
--       so many pairs: hour, calls in it; then pairs: channel, message
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local lease = redis.call('ZSCORE', KEYS[1], ARGV[2])
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] .. '|' .. ARGV[3] or not lease or tonumber(lease) < now then
    return 0
end
if ARGV[4] ~= '' then
    redis.call('XADD', KEYS[3], 'MINID', '~', string.format('%.0f', (now - ARGV[5]) * 1000), '*', 'g', ARGV[4])
    redis.call('EXPIRE', KEYS[3], 600)
end
local first = 7 + 2 * tonumber(ARGV[6])
for i = 7, first - 1, 2 do
    redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
    redis.call('EXPIRE', KEYS[4], 200000)
end
for i = first, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return 1
"""

BUDGETS = """
-- KEYS: members, then a hash for each budget: before, s:* what each has spent, h:* what each member has set aside
-- ARGV: me, my name in s:*, whether to set aside (1 or 0), then for each hash: what I have spent, what was spent before
--   (each '' where that is not known), whether all that is spent is in that (1 or 0), what I have set aside ('': as it
--   stands), what is likely (-1: need not fit), what I want to set aside, limit, when to forget it (0: never)
-- Gives: which one refuses, which one lets wait (0: none), then of each: spent, spent by nobody who is there, set aside
local me, wanted = ARGV[1], ARGV[3] == '1'
local refuses, waits = 0, 0
local told = {}
for i = 2, #KEYS do
    local key, a = KEYS[i], 4 + (i - 2) * 8
    if ARGV[a] ~= '' then
        redis.call('HSET', key, 's:' .. ARGV[2], ARGV[a])
    end
    if ARGV[a + 3] ~= '' then
        redis.call('HSET', key, 'h:' .. me, ARGV[a + 3])
    end
    local all = redis.call('HGETALL', key)
    local before, spent, gone, held, mine = nil, 0, 0, 0, 0
    for j = 1, #all, 2 do
        local kind, who, amount = string.sub(all[j], 1, 2), string.sub(all[j], 3), tonumber(all[j + 1])
        if all[j] == 'before' then
            before = amount
        elseif kind == 's:' then
            spent = spent + amount
            if not redis.call('ZSCORE', KEYS[1], who) then
                gone = gone + amount
            end
        elseif who == me then
            mine = amount
        elseif redis.call('ZSCORE', KEYS[1], who) then
            held = held + amount
        else
            redis.call('HDEL', key, all[j])
        end
    end
    if not before and ARGV[a + 1] ~= '' then
        before = math.max(tonumber(ARGV[a + 1]) - (ARGV[a + 2] == '1' and spent or 0), 0)
        redis.call('HSET', key, 'before', string.format('%.0f', before))
    end
    spent, gone = spent + (before or 0), gone + (before or 0)
    local likely, limit = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 6])
    if spent >= limit or spent + likely > limit then
        refuses = refuses == 0 and i - 1 or refuses
    elseif likely >= 0 and spent + held + mine + likely > limit then
        waits = waits == 0 and i - 1 or waits
    end
    if ARGV[a + 7] ~= '0' then
        redis.call('EXPIREAT', key, ARGV[a + 7])
    end
    for _, amount in ipairs({spent, gone, held}) do
        told[#told + 1] = string.format('%.0f', amount)
    end
end
if wanted and refuses == 0 and waits == 0 then
    for i = 2, #KEYS do
        redis.call('HINCRBY', KEYS[i], 'h:' .. me, ARGV[4 + (i - 2) * 8 + 5])
    end
end
return {refuses, waits, told}
"""

LEAVE = """
-- KEYS: members, owners. ARGV: me, then lanes that I own with their tokens: member|token
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #ARGV, 2 do
    if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
        redis.call('HDEL', KEYS[2], ARGV[i])
    end
end
return 1
"""
