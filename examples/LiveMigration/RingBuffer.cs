namespace LiveMigration;

/// <summary>One buffer of a chain.</summary>
internal readonly record struct RingBuffer(ulong At, uint Length, bool DeviceWrites);
