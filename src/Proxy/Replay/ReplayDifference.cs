namespace Vhost.Proxy;

/// <summary>The first message that is not what it was.</summary>
/// <param name="Number">Its number in the recording.</param>
/// <param name="Expected">What was recorded, on one line.</param>
/// <param name="Got">What came, on one line, or that nothing did.</param>
public sealed record ReplayDifference(long Number, string Expected, string Got);
