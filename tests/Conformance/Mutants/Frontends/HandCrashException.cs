namespace Vhost.Conformance.Tests;

/// <summary>A sin ends the front-end, as a crash would end its process.</summary>
internal sealed class HandCrashException : Exception;
