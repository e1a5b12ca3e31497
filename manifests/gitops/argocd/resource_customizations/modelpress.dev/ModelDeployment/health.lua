-- Health of a ModelDeployment. Argo CD runs this for each one; obj is the resource.
if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "Pending deletion"}
end

-- A status of an older generation says nothing about the newest spec.
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator to see the newest spec"}
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function health(status, kind)
  local condition = conditions[kind]
  if condition == nil then
    return {status = status, message = "Waiting for the condition " .. kind}
  end
  return {status = status, message = condition.reason .. ": " .. condition.message}
end

if is_true("Reconciling") then
  return health("Progressing", "Reconciling")
end
if is_true("Stalled") then
  return health("Degraded", "Stalled")
end
if is_true("Ready") then
  return health("Healthy", "Ready")
end
if conditions.Ready ~= nil and conditions.Ready.reason == "Suspended" then
  return health("Suspended", "Ready")
end
return health("Progressing", "Ready")
