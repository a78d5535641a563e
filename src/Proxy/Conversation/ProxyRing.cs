namespace Vhost.Proxy;

/// <summary>What was said of a ring.</summary>
/// <param name="Index">Its number.</param>
/// <param name="Size">Its size; 0: nothing was said.</param>
/// <param name="Base">Where it goes on: what was said, or what the back-end has answered; null: nothing was said.</param>
/// <param name="IsStarted">A kick descriptor was given, or that there is none, and it was not stopped since.</param>
/// <param name="IsEnabled">Whether it is enabled; null: nothing was said.</param>
public readonly record struct ProxyRing(int Index, uint Size, uint? Base, bool IsStarted, bool? IsEnabled);
