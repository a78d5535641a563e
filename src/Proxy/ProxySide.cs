namespace Vhost.Proxy;

/// <summary>One of the two programs that a proxy stands between.</summary>
public enum ProxySide : byte
{
    /// <summary>The front-end: the hypervisor, or whoever drives the device.</summary>
    FrontEnd,

    /// <summary>The back-end: the device.</summary>
    BackEnd,
}
