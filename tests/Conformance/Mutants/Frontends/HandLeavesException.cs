namespace Vhost.Conformance.Tests;

/// <summary>The front-end gives up its connection.</summary>
internal sealed class HandLeavesException(string reason) : Exception(reason);
