namespace Vhost.Proxy;

/// <summary>What an observer has thrown: none of the peers' doing.</summary>
internal sealed class ObserverException(Exception thrown) : Exception("The observer of a proxy has failed.", thrown);
