-- Counts a call in every key, or in none, where one of them has no room: the same algorithms as in
-- the gateway's own memory, on the clock of the database that all gateways share.
--
-- KEYS: one for each limit. ARGV: for each its algorithm, its calls in a window, the length of the
-- window in milliseconds, and the tokens that a bucket holds.
-- Gives 1 where all had room, else 0; then for each how long to wait, how many calls are left, and
-- in how long nothing that is counted matters any more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local looks, passes = {}, 1

for i, key in ipairs(KEYS) do
    local algorithm = ARGV[4 * i - 3]
    local limit, window = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
    local burst = tonumber(ARGV[4 * i])
    local kept = redis.call('GET', key)
    local look = {}
    if algorithm == 'token_bucket' then
        local token, bucket = window / limit, window / limit * burst
        local missing = 0
        if kept then
            missing = math.min(math.max(tonumber(kept) - now, 0), bucket)
        end
        -- Hundredths of a thousandth of a millisecond are what is lost by rounding.
        local room = bucket - missing - token + 0.01
        if room >= 0 then
            missing = missing + token
            look.wait = 0
        else
            look.wait = math.ceil(-room)
        end
        look.left = math.floor((bucket - missing + 0.01) / token)
        look.reset = math.ceil(missing)
        look.value = string.format('%.3f', now + missing)
    else
        local number = math.floor(now / window)
        local rest = window - now % window
        local before, current = 0, 0
        if kept then
            local last, older, newer = string.match(kept, '^(%d+):(%d+):(%d+)$')
            if tonumber(last) == number then
                before, current = tonumber(older), tonumber(newer)
            elseif tonumber(last) == number - 1 then
                before = tonumber(newer)
            end
        end
        if algorithm == 'fixed_window' then
            before = 0
        end
        local allowed = limit * window
        local weight = before * rest + current * window
        if weight + window <= allowed then
            current = current + 1
            weight = weight + window
            look.wait = 0
        elseif algorithm == 'fixed_window' then
            look.wait = rest
        elseif current < limit then
            look.wait = rest - math.floor((limit - current - 1) * window / math.max(before, 1))
        else
            look.wait = rest + window - math.floor((limit - 1) * window / current)
        end
        look.left = math.floor(math.max(allowed - weight, 0) / window)
        if algorithm == 'fixed_window' or current == 0 then
            look.reset = rest
        else
            look.reset = rest + window
        end
        look.value = string.format('%d:%d:%d', number, before, current)
    end
    if look.wait > 0 then
        passes = 0
    end
    looks[i] = look
end

local said = { passes }
for i, look in ipairs(looks) do
    if passes == 1 then
        redis.call('SET', KEYS[i], look.value, 'PX', look.reset + 1000)
    end
    said[#said + 1] = look.wait
    said[#said + 1] = look.left
    said[#said + 1] = look.reset
end
return said
